"""Run segbench from the repository: `python run.py -m block=dw,stm,faststm channels=24,64,192`."""

from segbench.__main__ import main

if __name__ == "__main__":
    main()
