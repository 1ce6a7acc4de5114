// Package keys holds the keys of Debian's archive, for bases that bring none of their own.
//
// debian-archive-keyring.pgp is the file of that name in the package debian-archive-keyring 2025.1, which is the keys that
// sign Debian 11 to 13. Its copyright file says that keys, being data, are not subject to copyright.
package keys

import _ "embed"

// debian is the keyring as it is embedded.
//
//go:embed debian-archive-keyring.pgp
var debian []byte

// Name is what messages call the keyring.
const Name = "jubako's own copy of debian-archive-keyring.pgp"

// Debian gives the keyring, in OpenPGP's binary form.
func Debian() []byte { return debian }
