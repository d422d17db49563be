"""How people move: poses predicted ahead, and filled in where a person is hidden."""
