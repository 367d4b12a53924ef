// Package stage0 is the verified, versioned store of stage-0 images.
//
// A directory holds ARCH/manifest.json and the files it names (DESIGN section 4); `nix
// build .#stage0` makes exactly that. The store loads an image by checking every file's
// SHA-256 against the manifest and then keeps the files open, so that a machine in the
// middle of a boot goes on with the bytes it began with, whatever is swapped in meanwhile:
// each image is addressed by a digest of its manifest, which the boot script's URLs carry.
//
// Changed manifests are noticed at the next use and loaded beside the current image;
// one that does not check out is reported and the last good one stays. [Store.Add] copies
// an image into the directory under its digest and swaps it in with one rename.
//
// A missing image is a state with a sentence on how to get one, not a failure. The package
// serves no network and knows nothing of hosts.
package stage0
