{{- /*
deploy/envoy/envoy.yaml, extended to shards.count shards. The routes and the cluster of shard 0 in that file are templates that are
copied for each shard; everything else stays unchanged. If a template is missing, rendering fails, so a change of the file cannot
silently lose shards.
*/ -}}
{{- define "constellation.envoyConfig" -}}
{{- $root := . -}}
{{- $text := $root.Files.Get "files/envoy.yaml" -}}
{{- if $root.Values.envoy.tlsSecret -}}
{{- /* Uncomment the TLS block of the file. */ -}}
{{- $text = regexReplaceAll "(?m)^      # (transport_socket:|  )" $text "      $1" -}}
{{- end -}}
{{- $config := fromYaml $text -}}
{{- with $config.Error -}}{{- fail (printf "deploy/envoy/envoy.yaml cannot be read: %s" .) -}}{{- end -}}
{{- $chain := index (index $config.static_resources.listeners 0).filter_chains 0 -}}
{{- if and $root.Values.envoy.tlsSecret (not $chain.transport_socket) -}}
{{- fail "deploy/envoy/envoy.yaml has no TLS block, which envoy.tlsSecret needs: add it as a comment beside `filters`" -}}
{{- end -}}
{{- $host := index (index $chain.filters 0).typed_config.route_config.virtual_hosts 0 -}}
{{- $_ := set $host "routes" (include "constellation.envoyRoutes" (dict "root" $root "routes" $host.routes) | fromYamlArray) -}}
{{- $clusters := include "constellation.envoyClusters" (dict "root" $root "clusters" $config.static_resources.clusters) -}}
{{- $_ := set $config.static_resources "clusters" (fromYamlArray $clusters) -}}
{{- toYaml $config -}}
{{- end -}}

{{- /* Replace each route of shard 0 by one for every shard, remove the routes of other shards, and keep all other routes. */ -}}
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

{{- /* Copy the cluster of shard 0 for every shard, and put every shard into the cluster any_shard. */ -}}
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
