"""OpenAI: requests and answers in the form that clients of OpenAI's API know."""
