{{- define "tunebench.name" -}}
{{- if contains "tunebench" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-tunebench" (.Release.Name | trunc 40) | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "tunebench.selector" -}}
app.kubernetes.io/name: tunebench-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Never `managed-by: tunebench`: that is how the operator knows what belongs to runs. */}}
{{- define "tunebench.labels" -}}
{{ include "tunebench.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "tunebench.account" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "tunebench.name" .) .Values.serviceAccount.name }}{{ else }}{{ required "serviceAccount.name must be given, because serviceAccount.create is false" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{/* An image: (dict "image" … "version" …). */}}
{{- define "tunebench.image" -}}
{{- if .image.digest }}{{ .image.repository }}@{{ .image.digest }}{{ else }}{{ .image.repository }}:{{ default .version .image.tag }}{{ end }}
{{- end }}

{{/* Where runs that name no store keep their artefacts. */}}
{{- define "tunebench.storage" -}}
{{- if .Values.storage.uri }}{{ .Values.storage.uri }}{{ else if .Values.storage.claim.create }}pvc://{{ .Values.storage.claim.name }}/runs{{ end }}
{{- end }}

{{/* Everything that the operator may do to runs and their children, and why. */}}
{{- define "tunebench.rules" -}}
# Runs: watched; finalizer and status by server-side apply.
- apiGroups: [tunebench.dev]
  resources: [benchmarkruns]
  verbs: [list, watch, patch]
- apiGroups: [tunebench.dev]
  resources: [benchmarkruns/status]
  verbs: [patch]
# Owner references that block deletion, where the API server guards them.
- apiGroups: [tunebench.dev]
  resources: [benchmarkruns/finalizers]
  verbs: [update]
# Stage documents and reports. `get` is for prompts in a ConfigMap of the user's, and is handed on to
# the run's own Role.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [list, watch, create, patch]
# Why pods wait or died.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# Why a Job gets no pods, such as for lack of quota.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [ray.io]
  resources: [rayjobs, rayservices]
  verbs: [list, watch, create, patch, delete]
# A Role per run, for its reports alone; nothing can be granted that is not granted here.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [list, watch, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, watch, create, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}
