"""The OpenAI-compatible door: chat, completions, embeddings and models, each request a normal task."""
