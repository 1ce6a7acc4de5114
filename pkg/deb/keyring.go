package deb

import (
	"bytes"
	"cmp"
	"crypto"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Keyring holds the keys that may sign a release.
type Keyring struct {
	keys openpgp.EntityList
	// only limits them to these fingerprints; none for all.
	only []string
}

// The bounds of what is signed, in bytes.
const (
	maxKeyring = 8 << 20
	maxRelease = 32 << 20
)

// Add reads a keyring: OpenPGP keys (RFC 9580), in binary or armored. Keys of a kind that is not known are passed over.
func (k *Keyring) Add(data []byte) error {
	if len(data) > maxKeyring {
		return fmt.Errorf("it has %d bytes; at most %d are read", len(data), maxKeyring)
	}
	const begin = "-----BEGIN PGP"
	if !bytes.Contains(data, []byte(begin)) {
		keys, err := openpgp.ReadKeyRing(bytes.NewReader(data))
		if err != nil {
			return fmt.Errorf("reading its keys: %w", err)
		}
		k.keys = append(k.keys, keys...)
		return nil
	}
	for n, block := range strings.Split(string(data), begin) { // a file may hold several blocks
		if n == 0 {
			continue
		}
		armored, err := armor.Decode(strings.NewReader(begin + block))
		if err != nil {
			return fmt.Errorf("reading its keys: %w", err)
		}
		keys, err := openpgp.ReadKeyRing(armored.Body)
		if err != nil {
			return fmt.Errorf("reading its keys: %w", err)
		}
		k.keys = append(k.keys, keys...)
	}
	return nil
}

// Only limits the keyring to keys with these fingerprints (hex), as Signed-By may do; a ! at the end of one is for it
// alone, and not for its subkeys.
func (k *Keyring) Only(fingerprints []string) { k.only = fingerprints }

// Len is the number of keys, without their subkeys.
func (k *Keyring) Len() int { return len(k.keys) }

// Signed is what a signature that holds has been made over.
type Signed struct {
	Text []byte
	// By are the fingerprints of the primary keys whose signatures hold, in upper-case hex, sorted.
	By []string
}

// SignatureError says why a text is not taken for signed.
type SignatureError struct{ Why string }

func (e *SignatureError) Error() string { return e.Why }

// VerifyInline reads a text that carries its signature (RFC 9580 §7), such as InRelease. Whatever stands outside of what is
// signed is an error. At least one known key has to have signed, and no signature of a known key may be wrong.
func (k *Keyring) VerifyInline(data []byte, now time.Time) (Signed, error) {
	if len(data) > maxRelease {
		return Signed{}, fmt.Errorf("it has %d bytes; at most %d are read", len(data), maxRelease)
	}
	const begin = "-----BEGIN PGP SIGNED MESSAGE-----"
	if !bytes.HasPrefix(data, []byte(begin+"\n")) && !bytes.HasPrefix(data, []byte(begin+"\r\n")) {
		return Signed{}, &SignatureError{"it does not begin with a signed text"}
	}
	block, rest := clearsign.Decode(data)
	if block == nil {
		return Signed{}, &SignatureError{"its signed text is cut, or is none"}
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return Signed{}, &SignatureError{"something stands behind the signature"}
	}
	// Blanks at the end of a line are not signed, and so are not read.
	text := append(bytes.ReplaceAll(block.Bytes, []byte("\r\n"), []byte("\n")), '\n')
	return k.verify(text, block.Bytes, block.ArmoredSignature.Body, now)
}

// VerifyDetached compares a text with a signature that is a file of its own (Release.gpg), armored or not.
func (k *Keyring) VerifyDetached(text, signature []byte, now time.Time) (Signed, error) {
	if len(text) > maxRelease || len(signature) > maxKeyring {
		return Signed{}, fmt.Errorf("it has %d bytes; at most %d are read", len(text), maxRelease)
	}
	var r io.Reader = bytes.NewReader(signature)
	if bytes.HasPrefix(bytes.TrimLeft(signature, " \t\r\n"), []byte("-----BEGIN")) {
		block, err := armor.Decode(bytes.NewReader(signature))
		if err != nil {
			return Signed{}, &SignatureError{fmt.Sprintf("its signature cannot be read: %v", err)}
		}
		r = block.Body
	}
	return k.verify(text, text, r, now)
}

// maxSignatures bounds how many signatures are looked at.
const maxSignatures = 64

// verify looks at every signature of a text. hashed is the text in the form that the signature is over.
func (k *Keyring) verify(text, hashed []byte, signatures io.Reader, now time.Time) (Signed, error) {
	out := Signed{Text: text}
	var unknown []string
	packets := packet.NewReader(signatures)
	for n := 0; ; n++ {
		p, err := packets.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Signed{}, &SignatureError{fmt.Sprintf("its signature cannot be read: %v", err)}
		}
		if n == maxSignatures {
			return Signed{}, &SignatureError{fmt.Sprintf("it has more than %d signatures", maxSignatures)}
		}
		sig, ok := p.(*packet.Signature)
		if !ok || sig.IssuerKeyId == nil {
			continue
		}
		by, why, err := k.judge(sig, hashed, now)
		if err != nil {
			return Signed{}, err
		}
		if by == "" {
			unknown = append(unknown, fmt.Sprintf("%016X, %s", *sig.IssuerKeyId, why))
			continue
		}
		out.By = append(out.By, by)
	}
	if len(out.By) == 0 {
		if len(unknown) == 0 {
			return Signed{}, &SignatureError{"it is not signed"}
		}
		return Signed{}, &SignatureError{"no key that is trusted has signed it: it is signed by " + strings.Join(unknown, ", and by ")}
	}
	slices.Sort(out.By)
	out.By = slices.Compact(out.By)
	return out, nil
}

// judge compares a signature with every copy of its key: keyrings may hold one from before the key was renewed, and one from
// after. by is the fingerprint of a copy that is good, and why says of the first why there is none.
func (k *Keyring) judge(sig *packet.Signature, hashed []byte, now time.Time) (by, why string, err error) {
	for _, e := range k.find(*sig.IssuerKeyId) {
		bad, err := check(e, sig, hashed, now)
		if err != nil {
			return "", "", err
		}
		if bad == "" && k.revoked(e, *sig.IssuerKeyId, now) {
			bad = "which is revoked"
		}
		if bad == "" {
			by = fmt.Sprintf("%X", e.PrimaryKey.Fingerprint)
		}
		why = cmp.Or(why, bad)
	}
	return by, cmp.Or(why, "which is not known"), nil
}

// revoked says whether any copy of a key says that it, or its primary key, is revoked.
func (k *Keyring) revoked(e *openpgp.Entity, id uint64, now time.Time) bool {
	return slices.ContainsFunc(k.keys, func(o *openpgp.Entity) bool {
		return bytes.Equal(o.PrimaryKey.Fingerprint, e.PrimaryKey.Fingerprint) &&
			(o.Revoked(now) || slices.ContainsFunc(o.Subkeys, func(s openpgp.Subkey) bool { return s.PublicKey.KeyId == id && s.Revoked(now) }))
	})
}

// find gives every copy of the key that a key id belongs to, as primary key or subkey.
func (k *Keyring) find(id uint64) []*openpgp.Entity {
	var all []*openpgp.Entity
	for _, e := range k.keys {
		if key := publicKey(e, id); key != nil && k.allows(e, key) {
			all = append(all, e)
		}
	}
	return all
}

// allows says whether a key is among those that the keyring is limited to.
func (k *Keyring) allows(e *openpgp.Entity, key *packet.PublicKey) bool {
	primary, own := fmt.Sprintf("%X", e.PrimaryKey.Fingerprint), fmt.Sprintf("%X", key.Fingerprint)
	return len(k.only) == 0 || slices.ContainsFunc(k.only, func(o string) bool {
		exact, alone := strings.CutSuffix(o, "!")
		return exact == own || !alone && exact == primary
	})
}

// check compares a signature with the text. why says why a key does not count; an error is a signature that is wrong.
func check(entity *openpgp.Entity, sig *packet.Signature, hashed []byte, now time.Time) (why string, err error) {
	if sig.SigType != packet.SigTypeText && sig.SigType != packet.SigTypeBinary {
		return "whose signature is not one of a text", nil
	}
	switch sig.Hash {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA3_256, crypto.SHA3_512:
	default:
		return fmt.Sprintf("with the hash %s, which is too weak", sig.Hash), nil
	}
	key, usable := entity.SigningKeyById(now, *sig.IssuerKeyId)
	public := key.PublicKey
	if !usable {
		if public = publicKey(entity, *sig.IssuerKeyId); public == nil {
			return "which is not known", nil
		}
	}
	h, err := sig.PrepareVerify()
	if err != nil {
		return "", &SignatureError{fmt.Sprintf("its signature by %016X cannot be read: %v", *sig.IssuerKeyId, err)}
	}
	to := h
	if sig.SigType == packet.SigTypeText {
		to = openpgp.NewCanonicalTextHash(h)
	}
	_, _ = to.Write(hashed) // a hash takes everything
	if err := public.VerifySignature(h, sig); err != nil {
		return "", &SignatureError{fmt.Sprintf("its signature by %016X is wrong: the text was changed after it was signed", *sig.IssuerKeyId)}
	}
	switch {
	case !usable:
		return "which has expired, is revoked, or is not for signing", nil
	case sig.SigExpired(now.Add(clockSkew)) && sig.SigExpired(now):
		return "whose signature has expired, or is from the future", nil
	case !sig.CreationTime.IsZero() && sig.CreationTime.Before(public.CreationTime):
		return "whose signature is older than itself", nil
	}
	return "", nil
}

func publicKey(e *openpgp.Entity, id uint64) *packet.PublicKey {
	if e.PrimaryKey.KeyId == id {
		return e.PrimaryKey
	}
	for _, s := range e.Subkeys {
		if s.PublicKey.KeyId == id {
			return s.PublicKey
		}
	}
	return nil
}

// clockSkew is how far this machine's clock may be behind the archive's.
const clockSkew = 24 * time.Hour

// Unverified gives what a text says that carries a signature, without looking at it; the whole where it carries none.
func Unverified(data []byte) Signed {
	if block, _ := clearsign.Decode(data); block != nil {
		return Signed{Text: block.Plaintext}
	}
	return Signed{Text: data}
}
