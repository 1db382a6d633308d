"""Find pictures by words with OpenAI's client and `var-plugin serve`.

python openai_client.py http://127.0.0.1:8000/v1 KEY lite/scene QUESTION PICTURE...
"""

import base64
import sys
from pathlib import Path

import numpy as np
import openai

address, key, model, question, *pictures = sys.argv[1:]
client = openai.OpenAI(base_url=address, api_key=key)
uris = [f"data:image/any;base64,{base64.b64encode(Path(picture).read_bytes()).decode()}" for picture in pictures]
answer = client.embeddings.create(model=model, input=[question, *uris])
query, *found = np.array([item.embedding for item in answer.data])
scores = np.array(found) @ query
print(f"{pictures[scores.argmax()]}: {scores.max():.3f}")
