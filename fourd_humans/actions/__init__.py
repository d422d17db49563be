"""Action recognition on tracklets: what each person does, from 3D poses and locations."""
