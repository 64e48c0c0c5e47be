; KISSlicer - PRO
; Linux
; version 1.6.3
; Built: Mar 14 2018, 16:07:02
; max_layer_thickness_mm = 0.25
; first_layer_thickness_mm = 0.3
; first_layer_C = 210
; bed_C = 58
; chamber_C = 30
; BEGIN_LAYER_OBJECT z=0.30
G1 X1 Y1 Z0.3 E1 F1200
; END_LAYER_OBJECT z=0.30
; BEGIN_LAYER_OBJECT z=10.30
; END_LAYER_OBJECT z=10.30
; Estimated Build Time:   1.0 minutes
; Calculated-during-export Build Time: 12.50 minutes
; Total estimated (pre-cool) build times
;    Ext #1 =    1000.50 mm  (2.41 cm^3)
;    Ext #2 =     500.25 mm  (1.20 cm^3)
