// Package e2e tries jubako against the real things: a registry server, Docker Engine, containerd, podman, buildah,
// skopeo, umoci and uv. run.sh installs and starts them, and passes where they are by E2E_* variables.
package e2e
