// Package volumes makes the directories that containers of a MiniPod are given, keeps their files up to date, and takes them away.
//
// Idea. What files a volume consists of is decided purely (Files), from the MiniPod and from what was read of its namespace. A Manager
// makes it so on the machine: emptyDirs of memory, and the files of ConfigMaps, Secrets and fields, in file systems in memory of the MiniPod's
// own, below the state directory; emptyDirs on disk below the root directory. Everything has a place by the MiniPod's UID and the volume's
// name, so that a new agent finds what an old one made, and completes it, or takes it away.
//
// Files change all at once, as a kubelet's: they are written into a new directory, to which the link ..data is moved, and what a container sees
// are links through ..data. Containers cannot write there.
//
// What makes it hard is that containers do write into emptyDirs, and may put there whatever the kernel lets them: links to anywhere, trees
// without end, files that cannot be removed. So no path is ever followed from outside into what a container can write to, but by openat2,
// which no link leads out of; what was found so is mounted by its descriptor, at a place of ours, and that place is what the runtime is
// told (subpath.go). Removing goes the same way, with a bounded number of directories open however deep a tree is (remove.go). And nobody but
// root passes the directories above, so that a program with setuid that a container left there is none for users of the machine.
package volumes
