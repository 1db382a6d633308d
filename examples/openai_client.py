"""Find images by text with OpenAI's client and `var-plugin serve`:

python openai_client.py http://127.0.0.1:8000/v1 KEY lite/scene QUERY IMAGE...
"""

import base64
import sys
from pathlib import Path

import numpy as np
import openai

if len(sys.argv) < 6:
    sys.exit("usage: python openai_client.py URL KEY SUITE/SPACE QUERY IMAGE...")
address, key, model, query, *images = sys.argv[1:]
client = openai.OpenAI(base_url=address, api_key=key)
uris = [f"data:image/any;base64,{base64.b64encode(Path(image).read_bytes()).decode()}" for image in images]
response = client.embeddings.create(model=model, input=[query, *uris])
query_vector, *vectors = np.array([item.embedding for item in response.data])
scores = np.array(vectors) @ query_vector
print(f"{images[scores.argmax()]}: {scores.max():.3f}")
