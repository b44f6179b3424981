"""The Ray cluster: join one, or start one on this machine and stop it again; watch its processes and its health."""
