{{- /* Names are <release>-<part>: shard, federation, front, migrate. */ -}}
{{- define "constellation.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "constellation.image" -}}
{{- printf "%s:%s" (required "image.repository is required: build deploy/Dockerfile, push it, and name it" .Values.image.repository) (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{- /* Without a version: selectors cannot change after the installation, and a new label on a pod template restarts its pods. */ -}}
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

{{- /* The address of the front door, or nothing if there is none. */ -}}
{{- define "constellation.frontDoor" -}}
{{- if .Values.frontDoorAddress -}}
{{- .Values.frontDoorAddress -}}
{{- else if .Values.envoy.enabled -}}
{{- printf "%s-front.%s.svc:50051" (include "constellation.name" .) .Release.Namespace -}}
{{- end -}}
{{- end -}}

{{- /* The host that reaches the owner of a shard: its pod on SQLite, a Service with its ready pod on PostgreSQL. */ -}}
{{- define "constellation.shardHost" -}}
{{- $name := include "constellation.name" .root -}}
{{- if eq .root.Values.store "sqlite" -}}
{{- printf "%s-shard-%d.%s-shards.%s.svc" $name .shard $name .root.Release.Namespace -}}
{{- else -}}
{{- printf "%s-shard-%d.%s.svc" $name .shard .root.Release.Namespace -}}
{{- end -}}
{{- end -}}

{{- /* The host that Envoy resolves: every process of a shard. Envoy's health check finds the process that serves. */ -}}
{{- define "constellation.shardHosts" -}}
{{- if eq .root.Values.store "sqlite" -}}
{{- include "constellation.shardHost" . -}}
{{- else -}}
{{- printf "%s-shard-%d-all.%s.svc" (include "constellation.name" .root) .shard .root.Release.Namespace -}}
{{- end -}}
{{- end -}}

{{- /* SHARD_MAP: with a front door, its address for every shard; without one, the address of each shard. */ -}}
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

{{- /* INTERNAL_SHARD_MAP: behind a front door, the address of each shard, for commands with --all; without one, SHARD_MAP has these. */ -}}
{{- define "constellation.internalShardMap" -}}
{{- if include "constellation.frontDoor" . -}}
{{- $map := list -}}
{{- range $shard, $address := include "constellation.shardAddrs" . | splitList "," -}}
{{- $map = append $map (printf "%d=%s" $shard $address) -}}
{{- end -}}
{{- join "," $map -}}
{{- end -}}
{{- end -}}

{{- /* TRUSTED_PROXIES: the value, or with this chart's front door every private network, because the chart cannot know the pods' one. */ -}}
{{- define "constellation.trustedProxies" -}}
{{- if .Values.trustedProxies -}}
{{- join "," .Values.trustedProxies -}}
{{- else if .Values.envoy.enabled -}}
10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7
{{- end -}}
{{- end -}}

{{- /* SHARD_ADDRS: the address of each shard, for the federation. */ -}}
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

{{- /* The time for the drain, the last commit and the last snapshot, and 10 s for everything else. */ -}}
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

{{- /* Copies the password file: libpq ignores one that its group may read, and the group may always read a mounted Secret. */ -}}
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

{{- /* "true" if the shards or the federation use PostgreSQL, otherwise nothing. */ -}}
{{- define "constellation.usesPostgres" -}}
{{- if or (eq .Values.store "postgres") (and .Values.federation.enabled (eq .Values.federation.journal "postgres")) }}true{{ end -}}
{{- end -}}

{{- /* A process answers "liveness" as soon as it starts, also while it recovers or waits. So no probe kills a long recovery. */ -}}
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

{{- /*
Spread pods over zones and machines. selector: which pods. host: what to do if there are too few machines. revision: the label whose
value pods must share to be counted together, or nothing to count all.
*/ -}}
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

{{- /*
What every pod has. component: its component. scheduling: the values with its nodeSelector and tolerations. account: its service account,
by default that of its component.
*/ -}}
{{- define "constellation.pod" -}}
serviceAccountName: {{ .account | default (printf "%s-%s" (include "constellation.name" .root) .component) }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{- include "constellation.podSecurity" .root | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .scheduling.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .scheduling.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* The pod of a shard. shard: its number, or nil if the index of the pod is the number. map: SHARD_MAP. */ -}}
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
  {{- include "constellation.pod" (dict "root" $root "component" "shard" "scheduling" $v.shards) | nindent 2 }}
  terminationGracePeriodSeconds: {{ include "constellation.graceSeconds" $root }}
  topologySpreadConstraints:
    {{- $selector := include "constellation.selector" (dict "root" $root "component" "shard") }}
    {{- if $postgres }}
    {{- /* The processes of one shard run on different machines: a spare on the machine of its owner would be lost with it. */}}
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
        - {name: probe, containerPort: 50053}
      env:
        - {name: PROBE_ADDR, value: "0.0.0.0:50053"}
        - {name: REST_ADDR, value: "0.0.0.0:8080"}
        - {name: METRICS_ADDR, value: "0.0.0.0:9090"}
        # Inside the cluster, gRPC is in clear text: Envoy has the certificate, network policies the rest.
        - {name: INSECURE, value: "1"}
        {{- if $v.tokens.existingSecret }}
        - {name: TOKEN_KEYS, value: /run/tokens/token-keys.json}
        {{- end }}
        - name: SHARD_ID
          {{- if $postgres }}
          value: {{ .shard | quote }}
          {{- else }}
          valueFrom:
            fieldRef:
              fieldPath: metadata.labels['apps.kubernetes.io/pod-index']
          {{- end }}
        - {name: SHARD_MAP, value: {{ .map | quote }}}
        {{- with include "constellation.internalShardMap" $root }}
        - {name: INTERNAL_SHARD_MAP, value: {{ . | quote }}}
        {{- end }}
        {{- with include "constellation.trustedProxies" $root }}
        - {name: TRUSTED_PROXIES, value: {{ . | quote }}}
        {{- end }}
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
      {{- include "constellation.probes" (dict "port" 50053) | nindent 6 }}
      resources: {{- toYaml $v.shards.resources | nindent 8 }}
      securityContext: {{- include "constellation.containerSecurity" $root | nindent 8 }}
      volumeMounts:
        - {name: data, mountPath: /data}
        - {name: tmp, mountPath: /tmp}
        {{- if $v.tokens.existingSecret }}
        - {name: tokens, mountPath: /run/tokens, readOnly: true}
        {{- end }}
        {{- if $postgres }}
        {{- include "constellation.postgresMounts" $root | nindent 8 }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 64Mi}
    {{- if $v.tokens.existingSecret }}
    {{- /* Not the federation's token: a shard presents none. */}}
    - name: tokens
      secret: {secretName: {{ $v.tokens.existingSecret }}, defaultMode: 0440, items: [{key: token-keys.json, path: token-keys.json}]}
    {{- end }}
    {{- if $postgres }}
    {{- /* An emptyDir is enough: it is only a cache, and a new pod builds its index from PostgreSQL. */}}
    - name: data
      emptyDir: {sizeLimit: {{ $v.shards.volume.size }}}
    {{- include "constellation.postgresVolumes" $root | nindent 4 }}
    {{- end }}
{{- end -}}
