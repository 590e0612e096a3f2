{{- define "warmpool.name" -}}
{{- if contains "warmpool" .Release.Name }}{{ .Release.Name | trunc 53 | trimSuffix "-" }}{{ else }}{{ printf "%s-warmpool" .Release.Name | trunc 53 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "warmpool.selector" -}}
app.kubernetes.io/name: warmpool
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "warmpool.labels" -}}
{{ include "warmpool.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "warmpool.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "warmpool.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "warmpool.name" .) }}
{{- end }}

{{- define "warmpool.connector" -}}
{{ include "warmpool.name" . }}-connector
{{- end }}

{{/* Of its own: the daemon's Service and NetworkPolicy select the daemon's. */}}
{{- define "warmpool.connector.selector" -}}
app.kubernetes.io/name: warmpool-connector
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "warmpool.connector.labels" -}}
{{ include "warmpool.connector.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Namespace or template of the RayClusters. */}}
{{- define "warmpool.clusters" -}}
{{ dig "backend" "namespace" "" .Values.config | default .Release.Namespace }}
{{- end }}

{{/* By which the RayClusters of this release are known, also once its daemon and store are gone. */}}
{{- define "warmpool.mark" -}}
{{ printf "%s.%s" .Release.Namespace .Release.Name | trunc 63 | trimSuffix "-" | trimSuffix "." }}
{{- end }}

{{/* The daemon's configuration: what it needs to be told here, under what the operator says. */}}
{{- define "warmpool.config" -}}
{{- $backend := dict "type" "kuberay" "namespace" (include "warmpool.clusters" .) "template" (dict "metadata" (dict "labels" (dict "warmpool.io/release" (include "warmpool.mark" .)))) -}}
{{- if eq (dig "backend" "type" "kuberay" .Values.config) "simulated" }}{{ $backend = dict }}{{ end -}}
{{- $given := dict -}}
{{- if .Values.postgres.urlSecret.name }}{{ $given = dict "tokens_dir" "/etc/warmpool-tokens" "store" (dict "url_file" (printf "/etc/warmpool-store/%s" .Values.postgres.urlSecret.key)) }}{{ end -}}
{{- $own := dict "listen" "0.0.0.0:8787" "listen_publicly" true "state_dir" "/var/lib/warmpool" "backend" $backend "access" (dict "kubernetes" (dict)) -}}
{{- $said := deepCopy .Values.config -}}
{{- if eq (dig "backend" "namespace" "" $said) "" }}{{ $_ := set $said "backend" (omit (get $said "backend" | default dict) "namespace") }}{{ end -}}
{{- $config := mergeOverwrite $own $given $said -}}
{{- if .Values.connector.enabled -}}
{{- $trusted := dict "namespace" .Release.Namespace "service_account" (include "warmpool.connector" .) "tenants" .Values.connector.tenants -}}
{{- $kubernetes := $config.access.kubernetes -}}
{{- $_ := set $kubernetes "trusted" (append (get $kubernetes "trusted" | default list) $trusted) -}}
{{- end }}
{{ toYaml $config }}
{{- end }}

{{/* The Secret with the tokens and their key, which all replicas share. */}}
{{- define "warmpool.tokens" -}}
{{ .Values.tokens.existingSecret | default (printf "%s-tokens" (include "warmpool.name" .)) }}
{{- end }}
