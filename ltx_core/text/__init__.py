"""From a prompt to text contexts: tokenizer, Gemma-3 hidden states, feature extractor, embeddings connectors."""
