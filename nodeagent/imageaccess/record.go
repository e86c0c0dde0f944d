// Package imageaccess decides who may run an image that is on the node already.
//
// Idea. That a MiniPod may have an image is for the registry to say, and a node that has the image once does not ask it again. So
// what one tenant's credential brought would be free for all. Kubernetes' answer is taken over (KEP-2535, the policy
// NeverVerifyPreloadedImages): what somebody put on the node without this agent is free, and so is what a registry gave without a
// credential; what it gave for one is for those who have the same credential, or the same Secret, and for whom the registry gives it to
// again, which is asked by a pull.
//
// Algorithm. Each name of an image has a Record, a short text that the runtime keeps with the name and that goes when the name is given
// to other content. An empty one is free, so that public images cost nothing. Another holds hashes, with a salt of its own, of the last
// credentials and Secrets that the registry took; one that is forgotten costs a question to the registry.
//
// What makes it hard: a record must be there at the moment when the image can be found, and never say more than was proven. So whatever
// cannot be read admits nobody.
package imageaccess

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"

	"miniplane.dev/miniplane/nodeagent/runtime"
)

const (
	// version begins every record that is not empty.
	version = "v1"
	// maxHolders bounds a record, which must fit into a label of containerd's, 4096 bytes.
	maxHolders = 64
	// hashBytes are kept of a hash.
	hashBytes = 16
	// SaltBytes make a salt.
	SaltBytes = 12
)

// Record says who may run an image. The zero value admits everybody.
type Record struct {
	salt    []byte
	holders []holder // who came last is last
	broken  bool
}

// holder is one whom the registry gave the image: hashes of the credential, and of the Secret that it was from.
type holder struct{ credential, secret string }

// Parse reads a record; one that cannot be read admits nobody.
func Parse(text string) Record {
	if text == "" {
		return Record{}
	}
	broken := Record{broken: true}
	fields := strings.Split(text, " ")
	if len(fields) < 3 || fields[0] != version {
		return broken
	}
	salt, err := base64.RawURLEncoding.DecodeString(fields[1])
	if err != nil || len(salt) != SaltBytes || base64.RawURLEncoding.EncodeToString(salt) != fields[1] {
		return broken
	}
	out := Record{salt: salt}
	for _, field := range fields[2:] {
		credential, secret, ok := strings.Cut(field, ",")
		if !ok || credential == "" {
			return broken
		}
		out.holders = append(out.holders, holder{credential, secret})
	}
	return out
}

// String is what Parse reads.
func (r Record) String() string {
	if r.Free() {
		return ""
	}
	out := []string{version, base64.RawURLEncoding.EncodeToString(r.salt)}
	for _, h := range r.holders {
		out = append(out, h.credential+","+h.secret)
	}
	return strings.Join(out, " ")
}

// Free tells whether everybody may run the image.
func (r Record) Free() bool { return !r.broken && len(r.holders) == 0 }

// Admits tells whether one of these credentials, which must fit the image, is one that the registry took, or from the same Secret.
func (r Record) Admits(auths []runtime.RegistryAuth) bool {
	if r.Free() {
		return true
	}
	for _, auth := range auths {
		now := r.holder(auth)
		if slices.ContainsFunc(r.holders, func(h holder) bool {
			return h.credential == now.credential || h.secret != "" && h.secret == now.secret
		}) {
			return true
		}
	}
	return false
}

// holder hashes a credential. One without a password is none.
func (r Record) holder(auth runtime.RegistryAuth) holder {
	if !isCredential(auth) {
		return holder{}
	}
	out := holder{credential: r.hash("credential", auth.Username, auth.Password)}
	if auth.Secret != "" {
		out.secret = r.hash("secret", auth.Secret)
	}
	return out
}

func isCredential(auth runtime.RegistryAuth) bool { return auth.Username != "" || auth.Password != "" }

func (r Record) hash(words ...string) string {
	sum := hmac.New(sha256.New, r.salt)
	for _, word := range words {
		_, _ = sum.Write(append([]byte(word), 0)) // it cannot fail
	}
	return base64.RawURLEncoding.EncodeToString(sum.Sum(nil)[:hashBytes])
}

// with adds one whom the registry gave the image; the one that came first is forgotten when there are too many.
func (r Record) with(auth runtime.RegistryAuth, salt []byte) Record {
	if r.broken || len(r.salt) == 0 {
		r = Record{salt: salt}
	}
	now := r.holder(auth)
	holders := slices.DeleteFunc(slices.Clone(r.holders), func(h holder) bool { return h == now })
	r.holders = append(holders, now)
	r.holders = r.holders[max(0, len(r.holders)-maxHolders):]
	return r
}

// Pull is one that worked.
type Pull struct {
	// Auth is the credential that the registry asked for and took; the zero value if it asked for none.
	Auth runtime.RegistryAuth
	// Same tells that the name was on the node before, with the same content; Before is the record that it had then.
	Same   bool
	Before Record
	// Salt is random, SaltBytes long.
	Salt []byte
}

// After is the record that a name has after a pull.
func After(p Pull) Record {
	switch {
	case !isCredential(p.Auth): // the registry gives it to everybody
		return Record{}
	case !p.Same:
		return Record{}.with(p.Auth, p.Salt)
	case p.Before.Free(): // and it stays free, although a credential was shown
		return Record{}
	}
	return p.Before.with(p.Auth, p.Salt)
}
