"""A gateway at work: windows in, alerts out, tonight's training rows kept."""
