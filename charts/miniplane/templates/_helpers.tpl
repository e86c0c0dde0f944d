{{- /* The labels that every object of the release has beside its own. */}}
{{- define "miniplane.labels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "miniplane.image" -}}
{{ .Values.image.repository }}{{ hasPrefix "sha256:" .Values.image.tag | ternary "@" ":" }}{{ .Values.image.tag }}
{{- end }}

{{- /* Fails for extra arguments that set what a value sets: the last one would win, in one of the two programs. Takes the
program's word in the values, its arguments, and a map from flags to values. */}}
{{- define "miniplane.checkArgs" }}
{{- range $arg := .args }}
  {{- $flag := regexFind "^[a-z-]+" (trimPrefix "-" (trimPrefix "-" $arg)) }}
  {{- with get $.values $flag }}
    {{- fail (printf "%s.extraArgs has %s: use the value %s instead" $.program $arg .) }}
  {{- end }}
{{- end }}
{{- end }}
