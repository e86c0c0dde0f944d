// Package twin compares MiniPods with native Pods: what people run, and more of what goes wrong with it than of what goes well, is run as a Pod and as
// a MiniPod from one manifest, and what the API says of the two is compared.
//
// The idea: Kubernetes itself is the specification. A history (histories_*_test.go, a line or two each) is a spec, a moment, and what is done to it
// then. Both twins get to that moment, each in its own time, and everything that their status says, and that kubectl would show, is laid side by
// side. What differs is an error of miniplane, unless it is in the table of differences that are meant (differences.go), which has an argument for
// each; docs/minipod.md is written from it, and one that is not seen any more is an error as well.
//
// What is in a container is compared too: such a history writes what it finds there (its user, its variables, its files) into its termination message.
package twin
