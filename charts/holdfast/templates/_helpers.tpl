{{/* The name of everything in the release: its own, with the chart's unless that is in it. */}}
{{- define "holdfast.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What never changes, as a Deployment's selector must not. */}}
{{- define "holdfast.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "holdfast.labels" -}}
{{ include "holdfast.selectorLabels" . }}
app.kubernetes.io/version: {{ include "holdfast.tag" . | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "holdfast.tag" -}}
{{- .Values.image.tag | default .Chart.AppVersion -}}
{{- end -}}

{{- define "holdfast.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "holdfast.fullname" .) -}}
{{- else -}}
{{- required "serviceAccount.name must name an existing account when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What the operator does in a namespace whose policies it looks after. No Secrets: Jobs mount them. */}}
{{- define "holdfast.rules" -}}
- apiGroups: [holdfast.dev]
  resources: [backuppolicies, backupruns, restorerequests]
  verbs: [get, list, watch]
# The runs that a schedule makes and a catalogue brings back, and those that the history's limits remove.
- apiGroups: [holdfast.dev]
  resources: [backupruns]
  verbs: [create, delete]
# Finalizers: of runs that may have paused the application, and of what deletionPolicy Delete is said of. Runs and
# requests: the label of the policy, and the annotation that tells a duplicate from what has started.
- apiGroups: [holdfast.dev]
  resources: [backuppolicies, backupruns, restorerequests]
  verbs: [patch]
- apiGroups: [holdfast.dev]
  resources: [backuppolicies/status, backupruns/status, restorerequests/status]
  verbs: [update]
# For a Job's ownerReference with blockOwnerDeletion, where OwnerReferencesPermissionEnforcement is on.
- apiGroups: [holdfast.dev]
  resources: [backuppolicies/finalizers, backupruns/finalizers, restorerequests/finalizers]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
# Whether the claim of a destination exists: a pod that mounts one which does not is never scheduled.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get]
# The progress of a running Job, and what a survey tells of a catalogue.
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [list, create]
{{- if .Values.operator.hooks }}
# The commands of policies' hooks. The WebSocket is a GET; from Kubernetes 1.35 on it needs create as well.
- apiGroups: [""]
  resources: [pods/exec]
  verbs: [get, create]
{{- end }}
{{- end -}}

{{/*
Whether the admission policies are installed: by the version, as `helm template` asks no cluster what it serves, and a
manifest without them would look like one with them.
*/}}
{{- define "holdfast.admission" -}}
{{- and .Values.admission.enabled (semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
