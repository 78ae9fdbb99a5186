"""The lab: packets of hospital wards, generated from a seed. NOT real traffic, and never called so.

    profiles -> ward (hosts) -> habits + offences + oddities -> stage (conversations) -> frames -> pcap and labels

Every packet is well formed (lengths, checksums, TCP numbers) and labelled with the attack it belongs to, the replies it
provokes included. What the lab is for: the product runs, is tested and is shown without a download. What it is not
for: claims about hospitals.
"""
