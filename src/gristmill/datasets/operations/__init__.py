"""Operations on whole datasets: truncate, rename, copy."""
