{{- define "titlecast.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "titlecast.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "titlecast.labels" -}}
{{ include "titlecast.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "titlecast.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "titlecast.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "titlecast.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* What the program would refuse, before anything is installed. */}}
{{- define "titlecast.check" -}}
{{- $keys := .Values.secret.keys }}
{{- if not (has "DATABASE_URL" $keys) }}
{{- fail "secret.keys needs DATABASE_URL: the pods have no disk for SQLite" }}
{{- end }}
{{- $nodes := ternary .Values.autoscaling.max (int .Values.replicas) .Values.autoscaling.enabled }}
{{- if and (gt (int $nodes) 1) (not (or (has "TITLECAST_NATS_URL" $keys) (hasKey .Values.settings "TITLECAST_NATS_URL"))) }}
{{- fail "several nodes need TITLECAST_NATS_URL, in secret.keys or settings: without it subscribers see only their own node's changes" }}
{{- end }}
{{- range $name, $_ := .Values.settings }}
{{- if or (has $name $keys) (has (trimSuffix "_FILE" $name) $keys) }}
{{- fail (printf "%s is in secret.keys and in settings" (trimSuffix "_FILE" $name)) }}
{{- end }}
{{- if has $name (list "DATABASE_URL" "OPENAI_API_KEY" "TITLECAST_JWT_SECRET") }}
{{- fail (printf "%s is a secret, and settings are readable in the Deployment: put it into the Secret, and its name into secret.keys" $name) }}
{{- end }}
{{- end }}
{{- if not (eq (include "titlecast.isOpen" .) "true") }}
{{- fail "nothing verifies tokens: put TITLECAST_JWT_SECRET into secret.keys, or TITLECAST_JWT_KEYS into secret.keys or settings, or set allowUnauthenticated" }}
{{- end }}
{{- end }}

{{/* "true" if the program may listen for other hosts: with tokens that concerns the metrics alone. */}}
{{- define "titlecast.isOpen" -}}
{{- $keys := .Values.secret.keys }}
{{- $has := false }}
{{- range $name := list "TITLECAST_JWT_SECRET" "TITLECAST_JWT_KEYS" }}
{{- if or (has $name $keys) (hasKey $.Values.settings $name) }}{{- $has = true }}{{- end }}
{{- end }}
{{- or $has .Values.allowUnauthenticated }}
{{- end }}

{{/* The names under which the service and the ingress are reached. */}}
{{- define "titlecast.hosts" -}}
{{- $name := include "titlecast.fullname" . }}
{{- $local := printf "%s.%s" $name .Release.Namespace }}
{{- $hosts := list $name $local (printf "%s.svc" $local) (printf "%s.svc.cluster.local" $local) }}
{{- if and .Values.ingress.enabled .Values.ingress.host }}
{{- $hosts = append $hosts .Values.ingress.host }}
{{- end }}
{{- join "," $hosts }}
{{- end }}

{{- define "titlecast.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "titlecast.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* The container that migrates: as the schema's owner, and without the other secrets. */}}
{{- define "titlecast.migration" -}}
name: migrate
image: {{ include "titlecast.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [migrate, up]
env:
  - name: DATABASE_URL_FILE
    value: /run/secrets/titlecast-owner/DATABASE_URL
  - name: TITLECAST_LOG_FORMAT
    value: json
resources:
  requests: { cpu: 100m, memory: 64Mi }
  limits: { memory: 512Mi }
securityContext:
  {{- include "titlecast.containerSecurity" . | nindent 2 }}
volumeMounts:
  - name: owner
    mountPath: /run/secrets/titlecast-owner
    readOnly: true
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "titlecast.ownerVolume" -}}
name: owner
secret:
  secretName: {{ .Values.secret.name }}
  defaultMode: 0440
  items:
    - key: {{ .Values.migrations.databaseUrlKey }}
      path: DATABASE_URL
{{- end }}
