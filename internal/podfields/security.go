package podfields

const (
	noSELinux   = "the agent sets no SELinux labels"
	noAppArmor  = "the agent sets no AppArmor profiles"
	noSeccomp   = "profiles of your own would have to be on every node"
	noProcMount = "`/proc` is masked in every container that is not privileged"
)

var securityContext = []Field{
	works("runAsUser", `1`),
	works("runAsGroup", `1`),
	works("runAsNonRoot", `true`),
	works("readOnlyRootFilesystem", `true`),
	works("allowPrivilegeEscalation", `false`),
	works("privileged", `true`),
	works("capabilities", `{drop: [ALL]}`),
	works("seccompProfile", `{type: RuntimeDefault}`),
	refused("procMount", `Unmasked`, noProcMount).in(`{hostUsers: false, containers: [{name: a, image: x, securityContext: {HERE: }}]}`),
	refused("seLinuxOptions", `{level: s0}`, noSELinux),
	refused("appArmorProfile", `{type: Unconfined}`, noAppArmor),
	refused("windowsOptions", `{runAsUserName: a}`, onlyLinux),
}

var podSecurityContext = []Field{
	works("runAsUser", `1`),
	works("runAsGroup", `1`),
	works("runAsNonRoot", `true`),
	works("supplementalGroups", `[2, 3]`),
	works("supplementalGroupsPolicy", `Strict`),
	works("fsGroup", `4`),
	idle("fsGroupChangePolicy", values(`Always`, `OnRootMismatch`), "volumes begin as those of the group"),
	works("seccompProfile", `{type: RuntimeDefault}`),
	refused("sysctls", `[{name: net.ipv4.tcp_syncookies, value: "1"}]`, "nobody has asked for them yet"),
	refused("seLinuxOptions", `{level: s0}`, noSELinux),
	refused("seLinuxChangePolicy", `Recursive`, noSELinux),
	refused("appArmorProfile", `{type: Unconfined}`, noAppArmor),
	refused("windowsOptions", `{runAsUserName: a}`, onlyLinux),
}

var capabilities = []Field{
	works("add", `[NET_ADMIN]`),
	works("drop", `[ALL]`),
}

var seccompProfile = []Field{
	only("type", values(`RuntimeDefault`, `Unconfined`), ``, noSeccomp),
	refused("localhostProfile", `my.json`, noSeccomp).in(inContainer(`securityContext: {seccompProfile: {type: Localhost, HERE: }}`)),
}
