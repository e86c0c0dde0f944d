package podfields

import (
	"reflect"

	corev1 "k8s.io/api/core/v1"
)

const (
	noStorage  = "volumes live and end with their MiniPod"
	useEmpty   = "use emptyDir"
	useHost    = "use hostPath for a directory of the node, or emptyDir"
	useMounted = "use hostPath for the directory in which the node has it mounted"
	noUsers    = "Kubernetes itself tries it out only"
	noMoreGone = "Kubernetes itself no longer has them"
)

var volume = []Field{
	works("name", `w`).in(inPod(`volumes: [{emptyDir: {}, HERE: }]`)),
	works("emptyDir", `{}`),
	works("configMap", `{name: c}`),
	works("secret", `{secretName: s}`),
	works("downwardAPI", `{items: [{path: p, fieldRef: {fieldPath: metadata.name}}]}`),
	works("projected", `{sources: [{secret: {name: s}}]}`),
	works("hostPath", `{path: /var/log}`),
	works("image", `{reference: x}`),
	refused("persistentVolumeClaim", `{claimName: c}`, noStorage).instead(useHost),
	refused("ephemeral", `{volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}`, noStorage).instead(useEmpty),
	refused("csi", `{driver: d.example.com}`, "the agent speaks to no drivers").instead(useMounted),
	refused("nfs", `{server: s, path: /p}`, noStorage).instead(useMounted),
	refused("iscsi", `{targetPortal: "10.0.0.1:3260", iqn: "iqn.2001-04.com.example:a", lun: 0}`, noStorage).instead(useMounted),
	refused("fc", `{targetWWNs: [a], lun: 0}`, noStorage).instead(useMounted),
	refused("gcePersistentDisk", `{pdName: d}`, noStorage).instead(useMounted),
	refused("awsElasticBlockStore", `{volumeID: d}`, noStorage).instead(useMounted),
	refused("azureDisk", `{diskName: d, diskURI: "https://a.blob.core.windows.net/c/d.vhd"}`, noStorage).instead(useMounted),
	refused("azureFile", `{secretName: s, shareName: h}`, noStorage).instead(useMounted),
	refused("vsphereVolume", `{volumePath: p}`, noStorage).instead(useMounted),
	refused("portworxVolume", `{volumeID: d}`, noStorage).instead(useMounted),
	refused("cephfs", `{monitors: [a]}`, noMoreGone),
	refused("cinder", `{volumeID: d}`, noMoreGone),
	refused("flexVolume", `{driver: example.com/d}`, noStorage).instead(useMounted),
	refused("flocker", `{datasetName: d}`, noMoreGone),
	refused("gitRepo", `{repository: r}`, noMoreGone),
	refused("glusterfs", `{endpoints: e, path: p}`, noMoreGone),
	refused("photonPersistentDisk", `{pdID: d}`, noMoreGone),
	refused("quobyte", `{registry: "a:1", volume: v}`, noMoreGone),
	refused("rbd", `{monitors: [a], image: i}`, noMoreGone),
	refused("scaleIO", `{gateway: g, system: s, volumeName: v, secretRef: {name: s}}`, noMoreGone),
	refused("storageos", `{volumeName: v}`, noMoreGone),
}

var hostPath = []Field{
	works("path", `/srv`),
	works("type", `DirectoryOrCreate`),
}

var imageVolume = []Field{
	works("reference", `example.com/y:v1`),
	works("pullPolicy", `Never`),
}

var emptyDir = []Field{
	only("medium", values(`""`, `Memory`), `HugePages`, "the lane has no huge pages to hand out"),
	works("sizeLimit", `1Mi`),
	refused("mode", `0700`, noUsers),
}

var configMapVolume = []Field{
	works("name", `d`),
	works("items", `[{key: k, path: p}]`),
	works("defaultMode", `0400`),
	works("optional", `true`),
	refused("defaultUser", `1000`, noUsers),
}

var secretVolume = []Field{
	works("secretName", `d`),
	works("items", `[{key: k, path: p}]`),
	works("defaultMode", `0400`),
	works("optional", `true`),
	refused("defaultUser", `1000`, noUsers),
}

var keyToPath = []Field{
	works("key", `l`),
	works("path", `dir/file`),
	works("mode", `0400`),
	refused("user", `1000`, noUsers),
}

var downwardAPIVolume = []Field{
	works("items", `[{path: p, fieldRef: {fieldPath: metadata.name}}]`),
	works("defaultMode", `0400`),
	refused("defaultUser", `1000`, noUsers),
}

var downwardAPIFile = []Field{
	works("path", `dir/file`),
	works("fieldRef", `{fieldPath: metadata.labels}`),
	works("resourceFieldRef", `{containerName: a, resource: limits.cpu}`).in(inVolume(`downwardAPI: {items: [{path: p, HERE: }]}`)),
	works("mode", `0400`),
	refused("user", `1000`, noUsers),
}

var projectedVolume = []Field{
	works("sources", `[{secret: {name: s}}]`),
	works("defaultMode", `0400`),
	refused("defaultUser", `1000`, noUsers),
}

var volumeProjection = []Field{
	works("configMap", `{name: c}`),
	works("secret", `{name: s}`),
	works("downwardAPI", `{items: [{path: p, fieldRef: {fieldPath: metadata.name}}]}`),
	works("serviceAccountToken", `{path: p}`),
	refused("clusterTrustBundle", `{name: b, path: p}`, "the agent reads no bundles").instead("use a configMap that has the certificates"),
	refused("podCertificate", `{signerName: example.com/s, keyType: ED25519, credentialBundlePath: p}`, "certificates are for native Pods, whose identity the API server knows").instead("use a secret that has one"),
}

var objectProjection = []Field{
	works("name", `d`),
	works("items", `[{key: k, path: p}]`),
	works("optional", `true`),
}

var downwardAPIProjection = []Field{
	works("items", `[{path: p, fieldRef: {fieldPath: metadata.name}}]`),
}

var tokenProjection = []Field{
	works("audience", `vault`),
	works("expirationSeconds", `600`),
	works("path", `dir/token`),
	refused("user", `1000`, noUsers),
}

var volumeMount = []Field{
	works("name", `v`),
	works("mountPath", `/w`),
	works("readOnly", `true`),
	works("subPath", `dir`),
	works("subPathExpr", `$(A)`),
	works("mountPropagation", `HostToContainer`),
	works("recursiveReadOnly", `Disabled`),
	refused("bindMountOptions", `[noexec]`, noUsers),
}

// volumeTypes are those that volumes are made of.
func volumeTypes() []Type {
	return []Type{
		{reflect.TypeFor[corev1.Volume](), inPod(`volumes: [{name: v, HERE: }]`), volume},
		{reflect.TypeFor[corev1.HostPathVolumeSource](), inVolume(`hostPath: {path: /, HERE: }`), hostPath},
		{reflect.TypeFor[corev1.ImageVolumeSource](), inVolume(`image: {reference: x, HERE: }`), imageVolume},
		{reflect.TypeFor[corev1.EmptyDirVolumeSource](), inVolume(`emptyDir: {HERE: }`), emptyDir},
		{reflect.TypeFor[corev1.ConfigMapVolumeSource](), inVolume(`configMap: {name: c, HERE: }`), configMapVolume},
		{reflect.TypeFor[corev1.SecretVolumeSource](), inVolume(`secret: {secretName: c, HERE: }`), secretVolume},
		{reflect.TypeFor[corev1.KeyToPath](), inVolume(`secret: {secretName: c, items: [{key: k, path: p, HERE: }]}`), keyToPath},
		{reflect.TypeFor[corev1.DownwardAPIVolumeSource](), inVolume(`downwardAPI: {HERE: }`), downwardAPIVolume},
		{reflect.TypeFor[corev1.DownwardAPIVolumeFile](), inVolume(`downwardAPI: {items: [{path: p, fieldRef: {fieldPath: metadata.name}, HERE: }]}`), downwardAPIFile},
		{reflect.TypeFor[corev1.ProjectedVolumeSource](), inVolume(`projected: {HERE: }`), projectedVolume},
		{reflect.TypeFor[corev1.VolumeProjection](), withToken(`HERE: `), volumeProjection},
		{reflect.TypeFor[corev1.ConfigMapProjection](), inVolume(`projected: {sources: [{configMap: {name: c, HERE: }}]}`), objectProjection},
		{reflect.TypeFor[corev1.SecretProjection](), inVolume(`projected: {sources: [{secret: {name: c, HERE: }}]}`), objectProjection},
		{reflect.TypeFor[corev1.DownwardAPIProjection](), inVolume(`projected: {sources: [{downwardAPI: {HERE: }}]}`), downwardAPIProjection},
		{reflect.TypeFor[corev1.ServiceAccountTokenProjection](), withToken(`serviceAccountToken: {path: p, HERE: }`), tokenProjection},
	}
}
