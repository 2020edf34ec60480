{{/* What options and values come to. Options are by their names on the agent's command line. */}}

{{/* Labels that find the pods of a component; they cannot change while a DaemonSet lives. Takes (dict "root" . "component" NAME). */}}
{{- define "sluiceway.selector" -}}
app.kubernetes.io/name: sluiceway
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "sluiceway.labels" -}}
app.kubernetes.io/name: sluiceway
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{/* BIRD's: a stage of deploy/Dockerfile. */}}
{{- define "sluiceway.birdImage" -}}
{{- with .Values.bird.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "sluiceway.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* A value as the command line has it: YAML's switches and lists, and numbers that JSON made floats. */}}
{{- define "sluiceway.text" -}}
{{- if kindIs "bool" . }}{{ ternary "on" "off" . }}
{{- else if kindIs "slice" . }}{{ range $at, $one := . }}{{ if $at }},{{ end }}{{ include "sluiceway.text" $one }}{{ end }}
{{- else if kindIs "float64" . }}{{ int64 . }}
{{- else }}{{ . }}
{{- end }}
{{- end }}

{{/* The options that are given, as flags. */}}
{{- define "sluiceway.flags" -}}
{{- range $name, $value := .Values.options }}
{{- if not (kindIs "invalid" $value) }}
- {{ printf "--%s=%s" $name (include "sluiceway.text" $value) | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* What an option comes to: its value, else the agent's default. Takes (dict "root" . "name" NAME). */}}
{{- define "sluiceway.option" -}}
{{- $given := index (.root.Values.options | default dict) .name -}}
{{- if kindIs "invalid" $given -}}
{{- get (.root.Files.Get "files/defaults.yaml" | fromYaml) .name -}}
{{- else -}}
{{- include "sluiceway.text" $given -}}
{{- end -}}
{{- end }}

{{/* "on" where a duty is the agent's, else nothing. Takes as sluiceway.option. */}}
{{- define "sluiceway.isOn" -}}
{{- if not (has (lower (include "sluiceway.option" .)) (list "off" "false" "no" "")) }}on{{ end -}}
{{- end }}

{{/* Fails where duties cannot be together, as the agent would at its start (agent/options/origins.py). */}}
{{- define "sluiceway.checkDuties" -}}
{{- $isChained := eq (include "sluiceway.option" (dict "root" . "name" "network")) "chained" -}}
{{- $word := include "sluiceway.option" (dict "root" . "name" "service-proxy") | lower -}}
{{- $served := $word | default (ternary "pods" "on" $isChained) -}}
{{- if and (eq $served "pods") (not $isChained) -}}
{{- fail "options.service-proxy: pods is for options.network=chained; give on, or off where kube-proxy serves" -}}
{{- end -}}
{{- if and $isChained (has $served (list "off" "false" "no")) (include "sluiceway.isOn" (dict "root" . "name" "network-policy")) -}}
{{- fail "options.service-proxy: with options.network=chained policy sees no backend that kube-proxy chooses; give pods, or options.network-policy=off" -}}
{{- end -}}
{{- if and (include "sluiceway.isOn" (dict "root" . "name" "replace-kube-proxy")) (not (has $served (list "on" "true" "yes"))) -}}
{{- fail "options.replace-kube-proxy: kube-proxy serves whom the agents do not; give options.service-proxy=on" -}}
{{- end -}}
{{- if $isChained -}}
{{- $others := list "encapsulation" "cross-subnet" "host-routing" "masquerade-all" "masquerade-config" "mtu" "forwarding" -}}
{{- range $name := ternary $others (append $others "l2-announce") (has $served (list "on" "true" "yes")) -}}
{{- if include "sluiceway.isChanged" (dict "root" $ "name" $name) -}}
{{- fail (printf "options.%s: with options.network=chained other CNI plugins make the pods' network; take it out, and tell them" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $way := include "sluiceway.option" (dict "root" . "name" "encapsulation") -}}
{{- if not (has $way (list "vxlan" "geneve")) -}}
{{- range $name := list "tunnel-port" "tunnel-vni" -}}
{{- if include "sluiceway.isChanged" (dict "root" $ "name" $name) -}}
{{- fail (printf "options.%s: options.encapsulation=%s has none; take it out, or give vxlan or geneve" $name $way) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (eq (include "sluiceway.option" (dict "root" . "name" "xdp")) "off") (include "sluiceway.option" (dict "root" . "name" "xdp-deny-cidrs-file")) -}}
{{- fail "options.xdp-deny-cidrs-file: without XDP nothing is denied; take it out, or give options.xdp=generic, which every device can" -}}
{{- end -}}
{{- $peers := include "sluiceway.count" (dict "root" . "name" "peer-router-ips") -}}
{{- range $name := list "peer-router-asns" "peer-router-ports" -}}
{{- $count := include "sluiceway.count" (dict "root" $ "name" $name) -}}
{{- if and (ne $count $peers) (or (ne $count "0") (eq $name "peer-router-asns")) -}}
{{- fail (printf "options.%s: %s for %s of options.peer-router-ips; give one for each, in the same order" $name $count $peers) -}}
{{- end -}}
{{- end -}}
{{- $ports := include "sluiceway.option" (dict "root" . "name" "node-port-range") | splitList "-" -}}
{{- if gt (int (first $ports)) (int (last $ports)) -}}
{{- fail "options.node-port-range: begins after its end; give LOW-HIGH" -}}
{{- end -}}
{{- end }}

{{/* "yes" where an option is not as the agent has it by default. Takes as sluiceway.option. */}}
{{- define "sluiceway.isChanged" -}}
{{- if ne (include "sluiceway.option" .) (get (.root.Files.Get "files/defaults.yaml" | fromYaml) .name) }}yes{{ end -}}
{{- end }}

{{/* How many an option's list has. Takes as sluiceway.option. */}}
{{- define "sluiceway.count" -}}
{{- $text := include "sluiceway.option" . -}}
{{- if $text }}{{ len (splitList "," $text) }}{{ else }}0{{ end -}}
{{- end }}

{{/* The agent's, with what only announcing, BGP and other plugins need. */}}
{{- define "sluiceway.securityContext" -}}
{{- $given := deepCopy .Values.securityContext -}}
{{- if or (include "sluiceway.isOn" (dict "root" . "name" "l2-announce")) (include "sluiceway.isOn" (dict "root" . "name" "router")) -}}
{{- $_ := set $given.capabilities "add" (append $given.capabilities.add "NET_RAW" | uniq) -}}
{{- end -}}
{{- if include "sluiceway.isOn" (dict "root" . "name" "networks") -}}
{{- $_ := set $given.capabilities "add" (concat $given.capabilities.add (list "SYS_CHROOT" "NET_RAW") | uniq) -}}
{{- end -}}
{{- if not (include "sluiceway.hasAppArmorField" .) -}}
{{- $_ := unset $given "appArmorProfile" -}}
{{- end -}}
{{- toYaml $given -}}
{{- end }}

{{/* What of it the other containers have, which write folders of the node too. */}}
{{- define "sluiceway.unconfined" -}}
{{- $given := pick .Values.securityContext "seLinuxOptions" "appArmorProfile" -}}
{{- if not (include "sluiceway.hasAppArmorField" .) -}}
{{- $_ := unset $given "appArmorProfile" -}}
{{- end -}}
{{- with $given }}{{ toYaml . }}{{ end -}}
{{- end }}

{{/* Kubernetes before 1.30 knows annotations alone, and refuses a field that it does not know. */}}
{{- define "sluiceway.hasAppArmorField" -}}
{{- if semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version }}yes{{ end -}}
{{- end }}

{{/* Such an annotation. Takes (dict "root" . "container" NAME). */}}
{{- define "sluiceway.appArmorAnnotation" -}}
{{- $type := dig "appArmorProfile" "type" "" .root.Values.securityContext -}}
{{- if and (eq $type "Unconfined") (not (include "sluiceway.hasAppArmorField" .root)) }}
container.apparmor.security.beta.kubernetes.io/{{ .container }}: unconfined
{{- end }}
{{- end }}

{{/* Those of the agent's pod. */}}
{{- define "sluiceway.appArmorAnnotations" -}}
{{- include "sluiceway.appArmorAnnotation" (dict "root" . "container" "agent") }}
{{- if .Values.devicePlugin.enabled }}
{{- include "sluiceway.appArmorAnnotation" (dict "root" . "container" "devices") }}
{{- end }}
{{- if include "sluiceway.isOn" (dict "root" . "name" "router") }}
{{- include "sluiceway.appArmorAnnotation" (dict "root" . "container" "bird") }}
{{- end }}
{{- end }}

{{/* Host and port of options.listen, as probes and Prometheus are told them. */}}
{{- define "sluiceway.listenPort" -}}
{{- include "sluiceway.option" (dict "root" . "name" "listen") | regexFind "[0-9]+$" -}}
{{- end }}
{{- define "sluiceway.listenHost" -}}
{{- $host := include "sluiceway.option" (dict "root" . "name" "listen") | regexFind "^(\\[.*\\]|[^:]*)" | trimAll "[]" -}}
{{- get (dict "0.0.0.0" "127.0.0.1" "::" "127.0.0.1") $host | default $host -}}
{{- end }}
{{- define "sluiceway.isScraped" -}}
{{- $listen := include "sluiceway.option" (dict "root" . "name" "listen") -}}
{{- if not (or (hasPrefix "127." $listen) (hasPrefix "[::1]" $listen)) }}yes{{ end -}}
{{- end }}

{{/* Where the agent's files and pins are, dpctl reads here too, whoever runs it in the container. */}}
{{- define "sluiceway.environment" -}}
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
{{- range $name := list "pin-root" "run-dir" "state-dir" }}
{{- with get ($.Values.options | default dict) $name }}
- name: SLUICEWAY_{{ $name | upper | replace "-" "_" }}
  value: {{ include "sluiceway.text" . | quote }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What a pod on the node has of it, beside its containers: the agent's, and the one that cleans up. */}}
{{- define "sluiceway.node" -}}
hostNetwork: true
# else Services of this namespace give the agent variables, whose names may be those of options
enableServiceLinks: false
# the node's own: the agent comes before the cluster's DNS, and may be told the API server by name
dnsPolicy: Default
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
volumes:
  - {name: bpffs, hostPath: {path: {{ include "sluiceway.bpffs" . }}, type: DirectoryOrCreate}}
  - {name: cgroup, hostPath: {path: {{ include "sluiceway.option" (dict "root" . "name" "cgroup") }}, type: Directory}}
  - {name: proc-sys-net, hostPath: {path: /proc/sys/net, type: Directory}}
  {{- range list "cni-bin-dir" "cni-conf-dir" "cni-state-dir" "state-dir" "run-dir" }}
  - {name: {{ . }}, hostPath: {path: {{ include "sluiceway.option" (dict "root" $ "name" .) }}, type: DirectoryOrCreate}}
  {{- end }}
  - {name: netns, hostPath: {path: /run/netns, type: DirectoryOrCreate}}
  {{- if include "sluiceway.isOn" (dict "root" . "name" "router") }}
  - {name: bgp-passwords, secret: {secretName: {{ .Values.bird.passwordSecret }}, optional: true, defaultMode: 0400}}
  {{- end }}
  {{- if include "sluiceway.isOn" (dict "root" . "name" "networks") }}
  - {name: host-root, hostPath: {path: /, type: Directory}}
  {{- end }}
  - {name: cache-dir, emptyDir: {}}
  - {name: tmp, emptyDir: {}}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "sluiceway.bpffs" -}}
{{- $found := dir (include "sluiceway.option" (dict "root" . "name" "pin-root")) -}}
{{- if has $found (list "/" "/sys" "/sys/fs" "/run" "/var" "/var/run") -}}
{{- fail (printf "options.pin-root: %s is no bpffs; give a folder in one, such as /sys/fs/bpf/sluiceway" $found) -}}
{{- end -}}
{{ $found }}
{{- end }}

{{/* Of a container that works on the node as the agent does. */}}
{{- define "sluiceway.mounts" -}}
# pinned maps and links outlive the agent
- {name: bpffs, mountPath: {{ include "sluiceway.bpffs" . }}, mountPropagation: HostToContainer}
# the socket programs go to the node's root cgroup
- {name: cgroup, mountPath: {{ include "sluiceway.option" (dict "root" . "name" "cgroup") }}}
# a container's own is not to be written
- {name: proc-sys-net, mountPath: /host/proc/sys/net}
# the plugin and its configuration, for the container runtime
- {name: cni-bin-dir, mountPath: {{ include "sluiceway.option" (dict "root" . "name" "cni-bin-dir") }}}
- {name: cni-conf-dir, mountPath: {{ include "sluiceway.option" (dict "root" . "name" "cni-conf-dir") }}}
# what host-local and the runtime know of pods from before us
- {name: cni-state-dir, mountPath: {{ include "sluiceway.option" (dict "root" . "name" "cni-state-dir") }}}
# attachments, and the plugin's socket
- {name: state-dir, mountPath: {{ include "sluiceway.option" (dict "root" . "name" "state-dir") }}}
- {name: run-dir, mountPath: {{ include "sluiceway.option" (dict "root" . "name" "run-dir") }}}
# pods' network namespaces, as the runtime names them
- {name: netns, mountPath: /run/netns, mountPropagation: HostToContainer}
{{- if include "sluiceway.isOn" (dict "root" . "name" "router") }}
# passwords of BGPPeers
- {name: bgp-passwords, mountPath: {{ include "sluiceway.option" (dict "root" . "name" "bgp-password-dir") }}, readOnly: true}
{{- end }}
{{- if include "sluiceway.isOn" (dict "root" . "name" "networks") }}
# other CNI plugins run there, with the node's files and programs
- {name: host-root, mountPath: /host/root, mountPropagation: HostToContainer}
{{- end }}
- {name: cache-dir, mountPath: {{ include "sluiceway.option" (dict "root" . "name" "cache-dir") }}}
- {name: tmp, mountPath: /tmp}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}
