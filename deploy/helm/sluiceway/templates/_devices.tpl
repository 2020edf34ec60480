{{/* The device plugin: its container, and what of the node it has. */}}

{{- define "sluiceway.deviceVolumes" -}}
{{- include "sluiceway.deviceFolders" . }}
- {name: pod-resources, hostPath: {path: {{ .Values.devicePlugin.kubeletDir }}/pod-resources, type: DirectoryOrCreate}}
- {name: device-config, configMap: {name: {{ .Values.devicePlugin.configMap | default "sluiceway-devices" }}}}
{{- end }}

{{/* Where it leaves files. */}}
{{- define "sluiceway.deviceFolders" -}}
- {name: device-plugins, hostPath: {path: {{ .Values.devicePlugin.kubeletDir }}/device-plugins, type: DirectoryOrCreate}}
{{- if .Values.devicePlugin.useCdi }}
- {name: cdi, hostPath: {path: /var/run/cdi, type: DirectoryOrCreate}}
{{- end }}
{{- end }}

{{/* Root, since the kubelet's sockets are root's, and nothing more. */}}
{{- define "sluiceway.deviceContainer" -}}
{{- $given := .Values.devicePlugin -}}
{{- $port := regexFind "[0-9]+$" $given.listen -}}
{{- $host := regexFind "^(\\[.*\\]|[^:]*)" $given.listen | trimAll "[]" -}}
{{- $probed := get (dict "0.0.0.0" "127.0.0.1" "::" "127.0.0.1") $host | default $host -}}
- name: devices
  image: {{ include "sluiceway.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [sluiceway-devices]
  args:
    - --config-file=/etc/sluiceway/devices/config.json
    - --resource-prefix={{ $given.resourcePrefix }}
    - --use-cdi={{ ternary "on" "off" $given.useCdi }}
    - --kubelet-dir={{ $given.kubeletDir }}
    - --run-dir={{ include "sluiceway.option" (dict "root" . "name" "run-dir") }}
    - {{ printf "--listen=%s" $given.listen | quote }}
    - --log-level={{ include "sluiceway.option" (dict "root" . "name" "log-level") }}
    - --log-format={{ include "sluiceway.option" (dict "root" . "name" "log-format") }}
  securityContext:
    privileged: false
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    runAsUser: 0
    capabilities:
      drop: [ALL]
    seccompProfile:
      type: RuntimeDefault
    {{- include "sluiceway.unconfined" . | nindent 4 }}
  terminationMessagePolicy: FallbackToLogsOnError
  livenessProbe:
    httpGet: {host: {{ $probed | quote }}, path: /livez, port: {{ $port }}}
    periodSeconds: 10
    initialDelaySeconds: 5
  resources:
    {{- toYaml $given.resources | nindent 4 }}
  volumeMounts:
    # sockets of the kubelet's and ours
    - {name: device-plugins, mountPath: {{ $given.kubeletDir }}/device-plugins}
    - {name: pod-resources, mountPath: {{ $given.kubeletDir }}/pod-resources}
    # devices.sock for the agent, and slots' folders
    - {name: run-dir, mountPath: {{ include "sluiceway.option" (dict "root" . "name" "run-dir") }}}
    - {name: device-config, mountPath: /etc/sluiceway/devices, readOnly: true}
    {{- if $given.useCdi }}
    - {name: cdi, mountPath: /var/run/cdi}
    {{- end }}
{{- end }}
