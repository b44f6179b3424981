"""The project's own networks. They know neither Ray nor the pipeline, and each imports torch only when it is used."""
