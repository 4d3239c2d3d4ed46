{{- /*
deploy/envoy/envoy.yaml with as many shards as there are. The file says how a shard is reached: its routes and clusters of shard 0
are the patterns, copied for each shard; everything else stays as it is. What is not found there stops the rendering, so a changed
file cannot quietly lose its shards.
*/ -}}
{{- define "constellation.envoyConfig" -}}
{{- $root := . -}}
{{- $text := $root.Files.Get "files/envoy.yaml" -}}
{{- if $root.Values.envoy.tlsSecret -}}
{{- /* The block "TLS" of the file, without its number signs. */ -}}
{{- $text = regexReplaceAll "(?m)^      # (transport_socket:|  )" $text "      $1" -}}
{{- end -}}
{{- $config := fromYaml $text -}}
{{- with $config.Error -}}{{- fail (printf "deploy/envoy/envoy.yaml cannot be read: %s" .) -}}{{- end -}}
{{- $chain := index (index $config.static_resources.listeners 0).filter_chains 0 -}}
{{- if and $root.Values.envoy.tlsSecret (not $chain.transport_socket) -}}
{{- fail "deploy/envoy/envoy.yaml has lost its block for TLS: envoy.tlsSecret needs it, write it as a comment beside `filters`" -}}
{{- end -}}
{{- $host := index (index $chain.filters 0).typed_config.route_config.virtual_hosts 0 -}}
{{- $_ := set $host "routes" (include "constellation.envoyRoutes" (dict "root" $root "routes" $host.routes) | fromYamlArray) -}}
{{- $clusters := include "constellation.envoyClusters" (dict "root" $root "clusters" $config.static_resources.clusters) -}}
{{- $_ := set $config.static_resources "clusters" (fromYamlArray $clusters) -}}
{{- toYaml $config -}}
{{- end -}}

{{- /* For each route of shard 0, one of every shard in its place; those of the other shards go, the rest stays. */ -}}
{{- define "constellation.envoyRoutes" -}}
{{- $count := int .root.Values.shards.count -}}
{{- $routes := list -}}
{{- $copied := 0 -}}
{{- range $route := .routes -}}
{{- $cluster := dig "route" "cluster" "" $route -}}
{{- if eq $cluster "shard_0" -}}
{{- $copied = add1 $copied -}}
{{- range $shard := until $count -}}
{{- $copy := deepCopy $route -}}
{{- $_ := set $copy.route "cluster" (printf "shard_%d" $shard) -}}
{{- $_ := set (index $copy.match.headers 0).string_match "exact" (toString $shard) -}}
{{- $routes = append $routes $copy -}}
{{- end -}}
{{- else if not (hasPrefix "shard_" $cluster) -}}
{{- $routes = append $routes $route -}}
{{- end -}}
{{- end -}}
{{- if not $copied -}}{{- fail "deploy/envoy/envoy.yaml has no route to shard_0: the chart copies it for every shard" -}}{{- end -}}
{{- toYaml $routes -}}
{{- end -}}

{{- /* The cluster of shard 0 for every shard, and all of them in any_shard. */ -}}
{{- define "constellation.envoyClusters" -}}
{{- $root := .root -}}
{{- $count := int $root.Values.shards.count -}}
{{- $clusters := list -}}
{{- $copied := 0 -}}
{{- range $cluster := .clusters -}}
{{- if eq $cluster.name "shard_0" -}}
{{- $copied = add1 $copied -}}
{{- range $shard := until $count -}}
{{- $copy := deepCopy $cluster -}}
{{- $_ := set $copy "name" (printf "shard_%d" $shard) -}}
{{- $_ := set $copy.load_assignment "cluster_name" $copy.name -}}
{{- $_ := set (index $copy.load_assignment.endpoints 0) "lb_endpoints" (list (include "constellation.envoyEndpoint" (dict "root" $root "shard" $shard) | fromYaml)) -}}
{{- $clusters = append $clusters $copy -}}
{{- end -}}
{{- else if eq $cluster.name "any_shard" -}}
{{- $copied = add1 $copied -}}
{{- $endpoints := list -}}
{{- range $shard := until $count -}}
{{- $endpoints = append $endpoints (include "constellation.envoyEndpoint" (dict "root" $root "shard" $shard) | fromYaml) -}}
{{- end -}}
{{- $_ := set (index $cluster.load_assignment.endpoints 0) "lb_endpoints" $endpoints -}}
{{- $clusters = append $clusters $cluster -}}
{{- else if not (hasPrefix "shard_" $cluster.name) -}}
{{- $clusters = append $clusters $cluster -}}
{{- end -}}
{{- end -}}
{{- if ne (int $copied) 2 -}}{{- fail "deploy/envoy/envoy.yaml must have the clusters shard_0 and any_shard: the chart fills them for every shard" -}}{{- end -}}
{{- toYaml $clusters -}}
{{- end -}}

{{- define "constellation.envoyEndpoint" -}}
endpoint:
  address:
    socket_address: {address: {{ include "constellation.shardHosts" . }}, port_value: 50051}
{{- end -}}
