"""HTTP: one way to answer a request: who may ask, how much a request may hold, in which sentence it is refused."""
