;Sliced by ideaMaker 4.3.2.6470, 2024-05-06 07:08:09 UTC
;Dimension: 305.000 305.000 605.000 0.400
;Bounding Box: 10.000 20.000 30.000 40.000 0.000 25.500
;Filament Diameter #1: 1.750
;Filament Diameter #2: 1.750
;Filament Density #1: 1240.000
;Filament Density #2: 1270.000
;Filament Type #1: PLA
;Filament Type #2: PETG
;Filament Name #1: White PLA
;Filament Name #2: Blue PETG
M190 S60
M109 T0 S205
G28
;LAYER:0
;Z:0.300
;HEIGHT:0.300
;PRINTING: cube
G1 X10 Y10 Z0.3 E1 F1200
;LAYER:1
;Z:0.500
;HEIGHT:0.200
;PRINTING: NON-OBJECT
;Print Time: 1800
;Material#1 Used: 1000.0
;Material#2 Used: 500.0
