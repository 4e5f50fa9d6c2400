"""Fuzzing: mutates every input of the product and gives it to the code that reads it.

values      mutations of plain values and of the text that holds them
content     mutations of bytes, and of archives, images, databases and tensors from within
messages    mutations of what comes over the wire
places      a hospital's node, a coordinator and their files, made once
kinds       each input: how it is mutated, and what reads it
trial       one mutation, tried: what came of it, in what time and memory
workers     processes that try one mutation after another, and a watchdog
"""
