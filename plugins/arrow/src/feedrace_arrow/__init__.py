"""Parquet, Arrow, CSV, JSON Lines and Hugging Face datasets for Feedrace."""
