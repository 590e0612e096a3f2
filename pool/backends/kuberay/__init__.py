"""Ray clusters that the KubeRay operator runs. `pool.backends.kuberay.backend.KuberayBackend` is the way in."""
