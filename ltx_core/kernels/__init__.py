"""Fused GPU kernels, each beside the plain PyTorch function that it equals.

A function here runs its Triton kernel where CUDA and Triton are there and no gradient is asked for, else its plain
twin.  Kernels compute in float32 and round once, so in bfloat16 they are nearer to the exact result than the twins.
"""
