"""HMR 2.0 (Goel, Pavlakos, Rajasegaran, Kanazawa, Malik: Humans in 4D, ICCV 2023): body recovery with transformers."""
