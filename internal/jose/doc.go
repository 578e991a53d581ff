// Package jose signs and verifies the JSON Web Signatures of LTI (Security
// Framework §4.1, §5.1, §6; RFC 7515, 7517, 7518).
//
// It is the only package of the project that imports a JOSE library, and none
// of that library's types leave it. The library is jwx v2, which is no longer
// maintained upstream; what it gets wrong is contained here:
//
//   - only the compact form is read: three non-empty parts of strict base64url;
//   - a header with crit or b64 is refused, and jwk, jku, x5u and x5c are never
//     looked at;
//   - the algorithm has to be in a fixed list of asymmetric ones, in the
//     caller's list, of the key's own kind and, where the key says so, exactly
//     the key's;
//   - each key of a set is parsed by itself, so that one strange key does not
//     spoil the others; symmetric keys, encryption keys and weak RSA keys are
//     left out;
//   - what is signed is marshalled by encoding/json, never by the library.
package jose
