package conditions

import "unicode/utf8"

// maxNote is how long the API server lets the note of an Event be, in bytes.
const maxNote = 1024

// Note is a text as an Event can carry it. The whole of it is in the status.
func Note(text string) string { return Clip(text, maxNote) }

// Clip is a text of at most so many bytes, as the API server lets a message be, that does not end within a character. What is not
// UTF-8 becomes so first, as it does on its way to the API server, where it would else grow over the limit.
func Clip(text string, most int) string {
	if !utf8.ValidString(text) {
		text = string([]rune(text))
	}
	if len(text) <= most {
		return text
	}
	end := max(most, 0)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}
