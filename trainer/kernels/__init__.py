"""Optional faster steps: fused BatchNorm (C++ on the CPU, Triton on a GPU) and CUDA graphs."""
