// Package e2e tries jubako against the real things: a registry server, Docker Engine, containerd, podman, buildah,
// skopeo, umoci and uv. run.sh installs and starts them, and passes where they are by E2E_* variables.
//
// What runs side by side (t.Parallel) has a project and image names of its own, and needs no certain port of this machine. It shares
// with others the registry and jubako's cache.
package e2e
