// Package ask asks containers something, for whoever wants to know: probes how they are, hooks to do something.
//
// Whoever answers may be hostile: an answer is read up to 10 kB, its headers up to 64 kB; redirects are followed within one host, ten times;
// of a command's output the first 10 kB are kept. How long anything may take is the caller's, by the context.
package ask
