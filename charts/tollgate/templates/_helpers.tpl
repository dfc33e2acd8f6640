{{/* The name of every object: the release's, made to contain the chart's. */}}
{{- define "tollgate.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Never changes: a Deployment's selector cannot. */}}
{{- define "tollgate.selectorLabels" -}}
app.kubernetes.io/name: tollgate
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "tollgate.labels" -}}
{{ include "tollgate.selectorLabels" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The reference of one image; takes the root context and the image's name. */}}
{{- define "tollgate.image" -}}
{{- $images := .root.Values.images -}}
{{- get $images .image | default (printf "%s/%s:%s" $images.registry .image ($images.tag | default .root.Chart.AppVersion)) -}}
{{- end }}

{{/* What the operator may do where it acts; nothing of it touches Secrets. */}}
{{- define "tollgate.rules" -}}
- apiGroups: [tollgate.dev]
  resources: [oktaprotectedapis]
  verbs: [get, list, watch]
- apiGroups: [tollgate.dev]
  resources: [oktaprotectedapis/status]
  verbs: [patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [services, serviceaccounts]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [configmaps]                  # those of superseded policies are deleted
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]             # deleted when networkPolicy.enabled is turned off
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods/status]                 # an annotation there makes the kubelet refresh mounted Secrets at once
  verbs: [patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
