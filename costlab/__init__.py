"""costlab: what is this backend pattern worth? Measured on a real stack, with an interval and a monthly bill."""
