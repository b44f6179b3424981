"""What the frames of a store are worth, without a truth to hold them against."""
