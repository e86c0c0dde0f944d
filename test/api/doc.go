// Package api tests the kinds as the API server enforces them: what is accepted, what is refused and in which words, what
// cannot be changed, and that each CRD stays small enough for client-side apply.
package api
