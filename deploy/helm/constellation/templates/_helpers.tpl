{{- /* Names are <release>-<part>: shard, federation, front, migrate. */ -}}
{{- define "constellation.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "constellation.image" -}}
{{- printf "%s:%s" (required "image.repository is required: build deploy/Dockerfile, push it, and name it" .Values.image.repository) (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{- /* Selectors never change after an installation, and a new label restarts a pod: no version in them. */ -}}
{{- define "constellation.selector" -}}
app.kubernetes.io/name: constellation
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "constellation.labels" -}}
{{ include "constellation.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* Empty: there is none. */ -}}
{{- define "constellation.frontDoor" -}}
{{- if .Values.frontDoorAddress -}}
{{- .Values.frontDoorAddress -}}
{{- else if .Values.envoy.enabled -}}
{{- printf "%s-front.%s.svc:50051" (include "constellation.name" .) .Release.Namespace -}}
{{- end -}}
{{- end -}}

{{- /* Where the shard is for those who want its owner: a pod, or a Service of whoever is ready. */ -}}
{{- define "constellation.shardHost" -}}
{{- $name := include "constellation.name" .root -}}
{{- if eq .root.Values.store "sqlite" -}}
{{- printf "%s-shard-%d.%s-shards.%s.svc" $name .shard $name .root.Release.Namespace -}}
{{- else -}}
{{- printf "%s-shard-%d.%s.svc" $name .shard .root.Release.Namespace -}}
{{- end -}}
{{- end -}}

{{- /* Where Envoy looks: every process of the shard. Its own health check finds the one that serves. */ -}}
{{- define "constellation.shardHosts" -}}
{{- if eq .root.Values.store "sqlite" -}}
{{- include "constellation.shardHost" . -}}
{{- else -}}
{{- printf "%s-shard-%d-all.%s.svc" (include "constellation.name" .root) .shard .root.Release.Namespace -}}
{{- end -}}
{{- end -}}

{{- /* Behind a front door devices know no address but its own; without one, each shard's. */ -}}
{{- define "constellation.shardMap" -}}
{{- $root := . -}}
{{- $front := include "constellation.frontDoor" . -}}
{{- $map := list -}}
{{- range $shard := until (int .Values.shards.count) -}}
{{- $own := printf "%s:50051" (include "constellation.shardHost" (dict "root" $root "shard" $shard)) -}}
{{- $map = append $map (printf "%d=%s" $shard ($front | default $own)) -}}
{{- end -}}
{{- join "," $map -}}
{{- end -}}

{{- define "constellation.shardAddrs" -}}
{{- $root := . -}}
{{- $addresses := list -}}
{{- range $shard := until (int .Values.shards.count) -}}
{{- $addresses = append $addresses (printf "%s:50051" (include "constellation.shardHost" (dict "root" $root "shard" $shard))) -}}
{{- end -}}
{{- join "," $addresses -}}
{{- end -}}

{{- define "constellation.postgresUrl" -}}
{{- $url := required "postgres.url is required with store=postgres or federation.journal=postgres: name the database, without a password" .Values.postgres.url -}}
{{- printf "%s%spassfile=/run/postgres/pgpass" $url (contains "?" $url | ternary "&" "?") -}}
{{- end -}}

{{- /* The drain, the last commit, the last snapshot, and 10 s for everything else. */ -}}
{{- define "constellation.graceSeconds" -}}
{{- add (int .Values.shards.drainSeconds) (int .Values.shards.commitSeconds) (int .Values.shards.snapshotSeconds) 10 -}}
{{- end -}}

{{- define "constellation.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "constellation.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- /* libpq ignores a password file that its group may read, and a mounted Secret always is. */ -}}
{{- define "constellation.passfileContainer" -}}
- name: passfile
  image: {{ include "constellation.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [install, --mode=0600, /run/secrets/postgres/pgpass, /run/postgres/pgpass]
  securityContext: {{- include "constellation.containerSecurity" . | nindent 4 }}
  resources:
    requests: {cpu: 10m, memory: 16Mi}
    limits: {memory: 32Mi}
  volumeMounts:
    - {name: postgres-secret, mountPath: /run/secrets/postgres, readOnly: true}
    - {name: postgres, mountPath: /run/postgres}
{{- end -}}

{{- define "constellation.postgresMounts" -}}
- {name: postgres, mountPath: /run/postgres, readOnly: true}
- {name: postgres-ca, mountPath: /run/postgres-ca, readOnly: true}
{{- end -}}

{{- define "constellation.postgresVolumes" -}}
- name: postgres-secret
  secret:
    secretName: {{ required "postgres.existingSecret is required with store=postgres or federation.journal=postgres: make a Secret with the key pgpass, and name it" .Values.postgres.existingSecret }}
    defaultMode: 0440
    items: [{key: pgpass, path: pgpass}]
- name: postgres-ca
  secret:
    secretName: {{ .Values.postgres.existingSecret }}
    defaultMode: 0440
    items: [{key: ca.crt, path: ca.crt}]
    optional: true
- name: postgres
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
{{- end -}}

{{- define "constellation.tracingEnv" -}}
{{- if .Values.tracing.endpoint -}}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ .Values.tracing.endpoint | quote }}}
- {name: OTEL_TRACES_SAMPLER, value: {{ .Values.tracing.sampler | quote }}}
- {name: OTEL_TRACES_SAMPLER_ARG, value: {{ .Values.tracing.samplerArg | quote }}}
{{- end }}
{{- end -}}

{{- /* Whether anything is in PostgreSQL. */ -}}
{{- define "constellation.usesPostgres" -}}
{{- if or (eq .Values.store "postgres") (and .Values.federation.enabled (eq .Values.federation.journal "postgres")) }}true{{ end -}}
{{- end -}}

{{- /* From the start on the process answers "liveness", also while it recovers or waits: no probe kills a long recovery. */ -}}
{{- define "constellation.probes" -}}
startupProbe:
  grpc: {port: {{ .port }}, service: liveness}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 60
livenessProbe:
  grpc: {port: {{ .port }}, service: liveness}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  grpc: {port: {{ .port }}, service: ""}
  periodSeconds: 5
  timeoutSeconds: 2
  failureThreshold: 2
{{- end -}}

{{- /* selector; host: what to do where machines are too few; revision: count the pods of one revision only. */ -}}
{{- define "constellation.spread" -}}
- maxSkew: 1
  topologyKey: topology.kubernetes.io/zone
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- .selector | nindent 6 }}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: {{ .host }}
  {{- with .revision }}
  matchLabelKeys: [{{ . }}]
  {{- end }}
  labelSelector:
    matchLabels: {{- .selector | nindent 6 }}
{{- end -}}

{{- /* What every pod has. place: where its nodeSelector and tolerations are; account: unset, that of its component. */ -}}
{{- define "constellation.pod" -}}
serviceAccountName: {{ .account | default (printf "%s-%s" (include "constellation.name" .root) .component) }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{- include "constellation.podSecurity" .root | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .place.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .place.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* The pod of a shard. shard: its number, or nil where the pod's index says it; map: SHARD_MAP. */ -}}
{{- define "constellation.shardPod" -}}
{{- $root := .root -}}
{{- $v := $root.Values -}}
{{- $postgres := eq $v.store "postgres" -}}
metadata:
  labels:
    {{- include "constellation.selector" (dict "root" $root "component" "shard") | nindent 4 }}
    {{- if $postgres }}
    constellation.tv/shard: {{ .shard | quote }}
    {{- end }}
spec:
  {{- include "constellation.pod" (dict "root" $root "component" "shard" "place" $v.shards) | nindent 2 }}
  terminationGracePeriodSeconds: {{ include "constellation.graceSeconds" $root }}
  topologySpreadConstraints:
    {{- $selector := include "constellation.selector" (dict "root" $root "component" "shard") }}
    {{- if $postgres }}
    {{- /* The processes of one shard on different machines, where there are enough: a spare beside its owner is none. */}}
    {{- $selector = printf "%s\nconstellation.tv/shard: %q" $selector (toString .shard) }}
    {{- end }}
    {{- $host := $postgres | ternary "DoNotSchedule" "ScheduleAnyway" }}
    {{- $revision := $postgres | ternary "pod-template-hash" "" }}
    {{- include "constellation.spread" (dict "selector" $selector "host" $host "revision" $revision) | nindent 4 }}
  {{- if $postgres }}
  initContainers: {{- include "constellation.passfileContainer" $root | nindent 4 }}
  {{- end }}
  containers:
    - name: shard
      image: {{ include "constellation.image" $root }}
      imagePullPolicy: {{ $v.image.pullPolicy }}
      command: [constellation, serve]
      ports:
        - {name: grpc, containerPort: 50051}
        - {name: rest, containerPort: 8080}
        - {name: metrics, containerPort: 9090}
      env:
        - name: SHARD_ID
          {{- if $postgres }}
          value: {{ .shard | quote }}
          {{- else }}
          valueFrom:
            fieldRef:
              fieldPath: metadata.labels['apps.kubernetes.io/pod-index']
          {{- end }}
        - {name: SHARD_MAP, value: {{ .map | quote }}}
        - {name: REGION, value: {{ $v.region | quote }}}
        - {name: DATA_DIR, value: /data}
        - {name: DRAIN_SECONDS, value: {{ int $v.shards.drainSeconds | quote }}}
        - {name: LOG_LEVEL, value: {{ $v.logLevel | quote }}}
        {{- if $postgres }}
        - {name: POSTGRES_URL, value: {{ include "constellation.postgresUrl" $root | quote }}}
        {{- end }}
        {{- with include "constellation.tracingEnv" $root }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- range $name, $value := $v.shards.env }}
        - {name: {{ $name }}, value: {{ $value | quote }}}
        {{- end }}
      {{- include "constellation.probes" (dict "port" 50051) | nindent 6 }}
      resources: {{- toYaml $v.shards.resources | nindent 8 }}
      securityContext: {{- include "constellation.containerSecurity" $root | nindent 8 }}
      volumeMounts:
        - {name: data, mountPath: /data}
        - {name: tmp, mountPath: /tmp}
        {{- if $postgres }}
        {{- include "constellation.postgresMounts" $root | nindent 8 }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 64Mi}
    {{- if $postgres }}
    {{- /* A cache: a new pod fills its index from PostgreSQL. */}}
    - name: data
      emptyDir: {sizeLimit: {{ $v.shards.volume.size }}}
    {{- include "constellation.postgresVolumes" $root | nindent 4 }}
    {{- end }}
{{- end -}}
