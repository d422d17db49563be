"""Every metric of the paper, and the datasets they are measured on."""
