"""Who vouches for a bundle: signatures by keys that the reader knows, made and checked with OpenSSF's model-signing.

A digest says which bytes are meant, a signature who answers for them. What is checked are digests of bytes in memory,
never a path, and never a file's name. Always: the library is imported by the functions that need it; a server that asks
for no signature, and a worker in any case, does without.
"""
