"""Find images by words with OpenAI's client and `var-plugin serve`.

python openai_client.py http://127.0.0.1:8000/v1 KEY lite/scene QUESTION IMAGE...
"""

import base64
import sys
from pathlib import Path

import numpy as np
import openai

address, key, model, question, *images = sys.argv[1:]
client = openai.OpenAI(base_url=address, api_key=key)
uris = [f"data:image/any;base64,{base64.b64encode(Path(image).read_bytes()).decode()}" for image in images]
answer = client.embeddings.create(model=model, input=[question, *uris])
query, *found = np.array([item.embedding for item in answer.data])
scores = np.array(found) @ query
print(f"{images[scores.argmax()]}: {scores.max():.3f}")
