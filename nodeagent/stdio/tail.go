package stdio

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"
)

// tailRecords is how much of a log's end is looked at, in bytes: the longest record, and more than a screen of short ones.
const tailRecords = 40 << 10

// Tail is the end of what a container wrote into its log, of both streams: so many lines at most, and so many bytes. It is empty where there
// is no log.
func Tail(logPath string, lines, most int) (string, error) {
	file, err := os.Open(logPath)
	if err != nil {
		return "", ignoreMissing(err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return "", err
	}
	from := max(0, info.Size()-tailRecords)
	records, err := io.ReadAll(io.NewSectionReader(file, from, tailRecords))
	if err != nil {
		return "", err
	}
	if from > 0 { // not a record from its beginning
		_, records, _ = bytes.Cut(records, []byte("\n"))
	}
	return tailOf(string(records), lines, most), nil
}

// tailOf is the end of what whole records hold.
func tailOf(records string, lines, most int) string {
	var out []string // pieces of text, the last first
	size, ends := 0, 0
	for records = strings.TrimSuffix(records, "\n"); records != ""; {
		start := strings.LastIndexByte(records, '\n') + 1
		text, whole, ok := textOf(records[start:])
		records = strings.TrimSuffix(records[:start], "\n")
		if !ok {
			continue
		}
		if whole {
			if ends++; ends > lines {
				break
			}
			text += "\n"
		}
		if size += len(text); size >= most {
			out = append(out, text[size-most:])
			break
		}
		out = append(out, text)
	}
	var joined strings.Builder
	for _, text := range slices.Backward(out) {
		joined.WriteString(text)
	}
	return joined.String()
}

// textOf is what a record "TIME STREAM TAG TEXT" says, and whether a line ends with it.
func textOf(record string) (text string, whole, ok bool) {
	_, rest, _ := strings.Cut(record, " ")
	stream, rest, _ := strings.Cut(rest, " ")
	tag, text, ok := strings.Cut(rest, " ")
	return text, tag != "P", ok && (stream == "stdout" || stream == "stderr")
}
