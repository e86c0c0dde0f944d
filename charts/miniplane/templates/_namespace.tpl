{{- /* Generated from config/ by hack/chart: change config/ and run `make generate`. */}}
{{- define "miniplane.namespaceLabels" }}{{ end }}
